import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the README's first example is the file that is run", () => {
  const readme = readFileSync("README.md", "utf8");
  assert.ok(readme.includes(`\`\`\`ts\n${readFileSync("examples/quickstart.ts", "utf8")}\`\`\``));
});
