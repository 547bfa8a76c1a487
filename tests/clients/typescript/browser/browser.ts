// The story of the clients in a headless Chromium. Serves a page that uses the package, and prints the lines of the page.
// The page's origin is STORY_WEB_ORIGIN, which the server at PGFOX_SERVER was started with as --web-origins.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const BROWSER = "chromium";
/** Longest time for the whole story. */
const LIMIT_MS = 120_000;

if (spawnSync(BROWSER, ["--version"]).status !== 0) {
  console.log(`${BROWSER} is missing; on Debian: apt-get install chromium`);
  process.exit(77);
}
const {
  PGFOX_SERVER: server,
  STORY_WEB_ORIGIN: origin,
  STORY_COLLECTION: collection,
  STORY_TABLE: table,
} = process.env;
if (!server || !origin || !collection || !table) {
  console.log("FAILED setup: PGFOX_SERVER, STORY_WEB_ORIGIN, STORY_COLLECTION and STORY_TABLE must be set");
  process.exit(1);
}

const bundled = await build({
  entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
  bundle: true,
  write: false,
  format: "esm",
  platform: "browser",
});
const script = bundled.outputFiles[0]?.text ?? "";

let end = () => {};
const ended = new Promise<void>((resolve) => {
  end = resolve;
});
const pages = await servePages(Number(new URL(origin).port));
// The same page once more, of an origin that the server does not know.
const others = await servePages(0);
const other = `http://127.0.0.1:${(others.address() as AddressInfo).port}`;

const profile = mkdtempSync(join(tmpdir(), "pgfox-browser-"));
const browser = spawn(
  BROWSER,
  [
    "--headless",
    // Chromium's own sandbox does not work as root, nor in most containers; the page is our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    `--user-data-dir=${profile}`,
    `${origin}/?${new URLSearchParams({ server, collection, table, other })}`,
  ],
  { stdio: ["ignore", "ignore", "pipe"] },
);
const complaints = text(browser.stderr);
// Chromium's other processes share its stderr, so "close" comes when none of them can write to the profile any more.
const closed = once(browser, "close");
browser.on("exit", async (code, signal) => {
  if (!browser.killed) {
    print(`FAILED browser: it ended (${code ?? signal}): ${await complaints}`);
    end();
  }
});
const timer = setTimeout(() => {
  print(`FAILED browser: the story is not at its end after ${LIMIT_MS / 1_000} s`);
  end();
}, LIMIT_MS);

await ended;
clearTimeout(timer);
if (browser.kill()) {
  await closed;
}
for (const server of [pages, others]) {
  server.close();
  server.closeAllConnections();
}
// Unlike `rmSync`, this looks again at a folder that was filled meanwhile.
await rm(profile, { recursive: true, force: true, maxRetries: 10 });

function print(line: string): void {
  console.log(line);
  if (line.startsWith("FAILED")) {
    process.exitCode = 1;
  }
}

/** Serves the page, and receives its lines and its end. */
async function servePages(port: number): Promise<Server> {
  const server = createServer(async (request, response) => {
    switch (request.url) {
      case "/page.js":
        response.setHeader("content-type", "text/javascript").end(script);
        break;
      case "/line":
        print(await text(request));
        response.end();
        break;
      case "/end":
        response.end();
        end();
        break;
      default:
        response.setHeader("content-type", "text/html");
        response.end('<!doctype html><body><script type="module" src="/page.js"></script></body>');
    }
  });
  await new Promise<void>((resolve, reject) => server.on("error", reject).listen(port, "127.0.0.1", resolve));
  return server;
}
