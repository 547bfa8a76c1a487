import type { CallOptions } from "@connectrpc/connect";

import type { PgfoxClient } from "../connect.js";
import type { IngestRequest, IngestResponse } from "../gen/pgfox/v1/documents_pb.js";

/**
 * Sends each request as its own call if there are no streams: at most `callsMax` at a time, answered in the order of
 * the requests.
 */
export async function* ingestEach(
  client: PgfoxClient,
  requests: AsyncGenerator<IngestRequest>,
  callsMax: number,
  options: CallOptions,
): AsyncGenerator<IngestResponse> {
  const calls: { ids: Set<string>; answer: Promise<IngestResponse> }[] = [];
  const answers = new ReadableStream<Promise<IngestResponse>>(
    {
      async pull(controller) {
        const { done, value: request } = await requests.next();
        if (done) {
          controller.close();
          return;
        }
        const ids = new Set(request.documents.map((document) => document.id));
        // If an id is repeated, the last document wins, so such requests are stored one after another.
        const before = calls.filter((call) => [...call.ids].some((id) => ids.has(id)));
        const answer = Promise.all(before.map((call) => call.answer)).then(() => client.ingest(request, options));
        // It is awaited in its turn, which never comes if an earlier one fails.
        answer.catch(() => {});
        calls.push({ ids, answer });
        controller.enqueue(answer);
      },
    },
    { highWaterMark: callsMax },
  );
  const reader = answers.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const answer = await next.value;
    calls.shift();
    yield answer;
  }
}
