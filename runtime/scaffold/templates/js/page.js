// The page {{route}}.

import { html } from "./greeting.js";

const GREETING = "Hello from JavaScript";

export const handler = {
  handle() {
    return {
      status: 200,
      headers: [["content-type", bytes("text/html; charset=utf-8")]],
      body: bytes(html(GREETING)),
    };
  },
};

function bytes(text) {
  return new TextEncoder().encode(text);
}
