// Evaluated in the folder where componentize-js is installed: node --input-type=module --eval … SOURCE WIT OUTPUT [WORLD]
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, output, worldName] = process.argv.slice(1);
try {
  const { component } = await componentize({ sourcePath, witPath, worldName });
  await writeFile(output, component);
} catch (error) {
  console.error(error?.payload ?? error?.message ?? error);
  process.exit(1);
}
