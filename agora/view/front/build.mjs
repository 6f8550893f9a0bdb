// Builds the page into ../static: one script, one style sheet, an icon. With --test: the tests, for node, into .test.
import { build } from "esbuild";
import { copyFileSync, readdirSync } from "node:fs";

const common = { bundle: true, target: "es2022", jsx: "automatic", jsxImportSource: "preact", logLevel: "warning" };
if (process.argv.includes("--test")) {
  const tests = readdirSync("test").filter((name) => name.endsWith(".test.ts") || name.endsWith(".test.tsx"));
  await build({
    ...common,
    entryPoints: tests.map((name) => `test/${name}`),
    outdir: ".test",
    outExtension: { ".js": ".mjs" },
    format: "esm",
    platform: "node",
  });
} else {
  await build({
    ...common,
    entryPoints: { app: "src/main.tsx" },
    outdir: "../static",
    minify: true,
    format: "iife",
    charset: "utf8",
    legalComments: "eof",
  });
  copyFileSync("src/icon.svg", "../static/icon.svg");
}
