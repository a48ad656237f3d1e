// The page {{route}}, by WASI HTTP 0.2.

import { html } from "./greeting.js";

const GREETING = "Hello from JavaScript";

addEventListener("fetch", (event) => {
  const headers = { "content-type": "text/html; charset=utf-8" };
  event.respondWith(new Response(html(GREETING), { headers }));
});
