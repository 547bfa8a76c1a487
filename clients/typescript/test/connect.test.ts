import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import { rootCertificates } from "node:tls";
import { inspect } from "node:util";

import { build } from "esbuild";
import { Code, connect, PgfoxError } from "../src/node.js";
import * as web from "../src/web.js";
import { documents, eventually, refusal, standIn, webStandIn } from "./stand-in.js";

test("endpoints are read", () => {
  const [ca] = rootCertificates;
  for (const [endpoint, options, expected] of [
    [undefined, {}, "http://127.0.0.1:50051"],
    ["localhost:50051", {}, "http://localhost:50051"],
    ["localhost:80", {}, "http://localhost"],
    ["http://localhost", {}, "http://localhost"],
    ["localhost:50051", { ca }, "https://localhost:50051"],
    ["http://[::1]:1", {}, "http://[::1]:1"],
    ["https://pgfox.example/", {}, "https://pgfox.example"],
  ] as const) {
    const client = connect({ ...options, endpoint });
    assert.equal(client.endpoint, expected);
    client.close();
  }
  for (const bad of [
    "",
    "localhost",
    "[::1]",
    "localhost:0",
    "http://localhost:0",
    "ftp://x:1",
    "http://",
    "http://host:1/path",
    "host:port",
    "a b:1",
    "host:70000",
    "u@host:1",
  ]) {
    const refused = { name: "TypeError", message: /write host:port, http:\/\/host:port or https:\/\/host:port/ };
    assert.throws(() => connect({ endpoint: bad }), refused, bad);
    assert.throws(() => web.connect({ endpoint: bad }), refused, bad);
  }
  assert.throws(() => connect({ endpoint: "http://host:1", ca }), { name: "TypeError", message: /write https/ });
  assert.throws(() => connect({ ca: "host.pem" }), {
    name: "TypeError",
    message: "`ca` must hold certificates in PEM",
  });
});

test("a deadline has its range", () => {
  for (const timeoutMs of [0, -1, Number.NaN, 86_400_001]) {
    assert.throws(() => connect({ timeoutMs }), {
      name: "RangeError",
      message: `timeoutMs must be above 0 and at most 86400000, not ${timeoutMs}`,
    });
  }
});

test("the key is sent and never shown", async (t) => {
  const seen: (string | null)[] = [];
  const listCollections = (_: unknown, { requestHeader }: { requestHeader: Headers }) => {
    seen.push(requestHeader.get("authorization"));
    throw new Error("fails");
  };
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, { listCollections }, { apiKey: " s3cret\n", retry: false });
    const error = await client.listCollections({}).catch((error) => error);
    assert.ok(error instanceof PgfoxError);
    assert.ok(!inspect([client, error], { depth: 9, showHidden: true }).includes("s3cret"));
  }
  assert.deepEqual(seen, ["Bearer s3cret", "Bearer s3cret"]);
  for (const apiKey of ["", " \n"]) {
    const { client } = await standIn(t, { listCollections }, { apiKey, retry: false });
    await client.listCollections({}).catch(() => {});
    assert.equal(seen.pop(), null, "an empty key is none");
  }
  for (const apiKey of ["a\nb", "schlüssel", "a b"]) {
    assert.throws(() => connect({ apiKey }), {
      name: "TypeError",
      message: "the API key may contain only visible ASCII characters",
    });
  }
});

test("calls say who calls and have a deadline, unless they last or set their own", async (t) => {
  const headers: Headers[] = [];
  const { client } = await standIn(
    t,
    {
      listCollections(_, { requestHeader }) {
        headers.push(requestHeader);
        return {};
      },
      async *buildIndex(_, { requestHeader }) {
        headers.push(requestHeader);
        yield {};
      },
    },
    { timeoutMs: 5_000 },
  );
  await client.listCollections({});
  await client.listCollections({}, { timeoutMs: 1_000 });
  await client.listCollections({}, { timeoutMs: 0 });
  for await (const _ of client.buildIndex({})) {
  }
  assert.deepEqual(
    headers.map((header) => header.get("grpc-timeout")),
    ["5000m", "1000m", null, null],
  );
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  assert.equal(headers[0]?.get("user-agent"), `pgfox-typescript/${version}`);
});

test("messages above the limit are not sent", async (t) => {
  const { client } = await standIn(t, {});
  const ingest = client.ingest({ collection: "c", documents: documents(17, 1 << 20) });
  await assert.rejects(ingest, { name: "ConnectError", message: /resource_exhausted.*16842752/ });
});

test("a signal ends a stream", async (t) => {
  const leave = new AbortController();
  const { client } = await standIn(t, {
    async *buildIndex(_, { signal }) {
      yield {};
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  const watch = async () => {
    for await (const _ of client.buildIndex({}, { signal: leave.signal })) {
      leave.abort();
    }
  };
  await assert.rejects(watch, { code: Code.Canceled });
});

test("leaving the loop ends a stream", async (t) => {
  for (const start of [standIn, webStandIn]) {
    let ended = 0;
    const { client } = await start(t, {
      async *buildIndex(_, { signal }) {
        yield { fractionDone: 0.5 };
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        ended++;
      },
    });
    for await (const { fractionDone } of client.buildIndex({})) {
      assert.equal(fractionDone, 0.5);
      break;
    }
    await eventually("the server sees it", () => ended === 1);
  }
});

test("a closed client calls no more", async (t) => {
  const { client } = await standIn(t, { listCollections: () => new Promise(() => {}) }, { timeoutMs: 1_000 });
  const running = client.listCollections({});
  running.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  client.close();
  await assert.rejects(running, /the client is closed/);
  await assert.rejects(client.listCollections({}), /the client is closed/);
});

test("a closed client ends a pause", { timeout: 15_000 }, async (t) => {
  for (const start of [standIn, webStandIn]) {
    let attempts = 0;
    const { client } = await start(t, {
      listCollections() {
        attempts++;
        throw refusal(Code.Unavailable, "SHUTTING_DOWN", 10_000);
      },
    });
    const began = performance.now();
    const { signal } = new AbortController();
    const calls = [client.listCollections({}), client.listCollections({}, { signal })];
    for (const call of calls) {
      call.catch(() => {});
    }
    await eventually("both calls pause", () => attempts === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.close();
    for (const call of calls) {
      await assert.rejects(call, { code: Code.Canceled, rawMessage: "the client is closed" });
    }
    assert.ok(performance.now() - began < 5_000);
  }
});

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
);

test("an IPv6 address is called", { skip: !hasIpv6 && "this machine has no ::1" }, async (t) => {
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, { listCollections: () => ({}) }, { timeoutMs: 5_000 }, "::1");
    assert.match(client.endpoint, /^http:\/\/\[::1\]:\d+$/);
    await client.listCollections({});
  }
});

test("nothing of Node is bundled for a page", async () => {
  const { metafile } = await build({
    stdin: { contents: 'export { connect, ingest } from "@pgfox/client/web"', resolveDir: "." },
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "browser",
  });
  const inputs = Object.keys(metafile.inputs);
  assert.ok(inputs.some((input) => input.endsWith("src/web.js")));
  assert.deepEqual(
    inputs.filter((input) => /connect-node|^node:|src\/node\.js/.test(input)),
    [],
  );
});
