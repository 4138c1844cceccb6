// Uses graphql-ws like a frontend: node graphql-ws.mjs ADDRESS TOKEN
// Prints its results as JSON.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [address, token] = process.argv.slice(2);
const client = (bearer, options) =>
  createClient({
    url: `${address.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: bearer && (() => ({ Authorization: `Bearer ${bearer}` })),
    retryAttempts: 0,
    ...options,
  });

const CREATE = "mutation Create($title: String!) { createTask(input: { title: $title }) { task { title } } }";
const CHANGED = "subscription Changed { taskChanged { eventType task { title } } }";

const writer = client(token);
const first = async (from, query, variables) => {
  for await (const result of from.iterate({ query, variables })) return result;
};
const created = [];
const create = async (title) => created.push((await first(writer, CREATE, { title })).data.createTask.task.title);
const failure = async (from, query) => {
  try {
    return await first(from, query);
  } catch (error) {
    return Array.isArray(error) ? error.map((e) => e.extensions.code) : { code: error.code, reason: error.reason };
  }
};

const viewer = (await first(client(token), "{ viewer { email } }")).data.viewer;
await create("Before");
const forbidden = await failure(client(token), "subscription { domainEvents { id } }");
const anonymous = await failure(client(), CHANGED);
const invalid = await failure(client(token), "{ nonsense }");
const stranger = await failure(client("nonsense"), CHANGED);

// The connection is lost while events occur. The subscription that is sent again after reconnecting names the last id.
const payload = { query: CHANGED, extensions: {} };
const titles = [];
const connections = [];
await new Promise((resolve, reject) => {
  const reader = client(token, {
    retryAttempts: 3,
    shouldRetry: () => true,
    retryWait: async () => {
      await begun;
      await create("Second");
      await create("Third");
    },
    on: { connected: (_, __, isRetry) => connections.push(isRetry) },
  });
  const stop = reader.subscribe(payload, {
    next: ({ data, extensions }) => {
      payload.extensions = { lastEventId: extensions.id };
      titles.push(data.taskChanged.task.title);
      if (titles.length === 1) reader.terminate();
      if (titles.at(-1) === "Third") create("Fourth").catch(reject);
      if (titles.at(-1) === "Fourth") stop();
    },
    error: reject,
    complete: resolve,
  });
  // A client cannot see when its subscription has started, so it creates tasks until the first event arrives.
  const begun = (async () => {
    for (let count = 1; titles.length === 0; count++) {
      await create(`First ${count}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  begun.catch(reject);
});
await writer.dispose();

console.log(JSON.stringify({ viewer, created, forbidden, anonymous, invalid, stranger, titles, connections }));
process.exit(0);
