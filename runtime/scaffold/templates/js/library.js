// The library {{id}}: other components import `site:{{package}}/api`.

import { greet } from "./greeting.js";

export const api = { greet };
