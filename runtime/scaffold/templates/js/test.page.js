import assert from "node:assert";
import test from "node:test";

import { html } from "./greeting.js";

test("the page greets", () => {
  assert.match(html("Good morning"), /<h1>Good morning<\/h1>/);
});
