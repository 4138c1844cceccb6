// Bundles the page into dist/. The name of every file except index.html contains a hash of its content. Scripts and
// styles are compressed in advance.
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { build } from "esbuild";

const common = {
  bundle: true,
  minify: true,
  target: "es2022",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  legalComments: "external",
  metafile: true,
  outdir: "dist",
  logLevel: "warning",
};

const outputs = ({ metafile }) =>
  Object.entries(metafile.outputs)
    .filter(([, output]) => output.entryPoint)
    .map(([path, { entryPoint, cssBundle }]) => ({ entryPoint, file: basename(path), css: cssBundle && basename(cssBundle) }));

const WORKERS = {
  editor: "monaco-editor/esm/vs/editor/editor.worker.js",
  json: "monaco-editor/esm/vs/language/json/json.worker.js",
  graphql: "monaco-graphql/esm/graphql.worker.js",
};

await rm("dist", { recursive: true, force: true });
const workers = {};
for (const [label, path] of Object.entries(WORKERS)) {
  const [{ file }] = outputs(await build({ ...common, format: "iife", entryPoints: { [`${label}.worker`]: path } }));
  workers[label] = file;
}
const page = await build({
  ...common,
  format: "esm",
  splitting: true,
  jsx: "automatic",
  loader: { ".ttf": "empty" }, // graphiql/style.css contains the styles and fonts of the editors
  define: { WORKERS: JSON.stringify(workers), "process.env.NODE_ENV": '"production"' },
  external: ["graphql-ws"], // the toolkit loads it only for subscriptions over WebSocket, which the page does not use
  entryPoints: { explorer: "src/main.jsx" },
});
const { file, css } = outputs(page).find(({ entryPoint }) => entryPoint === "src/main.jsx");
const html = await readFile("src/index.html", "utf8");

const compressions = {
  gz: promisify(gzip),
  br: (content) => promisify(brotliCompress)(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }),
};
const built = await readdir("dist");
await Promise.all(built.filter((name) => name.includes(".css") && !name.startsWith(css)).map((name) => rm(`dist/${name}`)));
const compressible = (await readdir("dist")).filter((name) => /\.(js|css)$/.test(name));
await Promise.all(
  compressible.map(async (name) => {
    const content = await readFile(`dist/${name}`);
    for (const [suffix, compress] of Object.entries(compressions)) {
      await writeFile(`dist/${name}.${suffix}`, await compress(content));
    }
  }),
);
// written last: the gateway serves the page as soon as index.html exists
await writeFile("dist/index.html", html.replace("EXPLORER.css", css).replace("EXPLORER.js", file));
