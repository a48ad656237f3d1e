// node --input-type=module --eval "$(cat componentize.mjs)" SOURCE WIT WORLD COMPONENT
// Evaluated, not run as a file: so Node looks for the package in the folder that it is started in.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, worldName, output] = process.argv.slice(1);
const { component } = await componentize({ sourcePath, witPath, worldName });
await writeFile(output, component);
