// What a frontend does with graphql-ws: node graphql-ws.mjs ADDRESS TOKEN; answers what it found as JSON.
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
const one = async (from, query, variables) => {
  for await (const result of from.iterate({ query, variables })) return result;
};
const made = [];
const create = async (title) => made.push((await one(writer, CREATE, { title })).data.createTask.task.title);
const failure = async (from, query) => {
  try {
    return await one(from, query);
  } catch (error) {
    return Array.isArray(error) ? error.map((e) => e.extensions.code) : { code: error.code, reason: error.reason };
  }
};

const viewer = (await one(client(token), "{ viewer { email } }")).data.viewer;
await create("Before");
const forbidden = await failure(client(token), "subscription { domainEvents { id } }");
const anonymous = await failure(client(), CHANGED);
const invalid = await failure(client(token), "{ nonsense }");
const stranger = await failure(client("nonsense"), CHANGED);

// a connection that is lost while things happen: what is sent anew when it is back names the last id that arrived
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
  // events reach who has begun: tasks are made until the first one arrives
  const begun = (async () => {
    for (let count = 1; titles.length === 0; count++) {
      await create(`First ${count}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  begun.catch(reject);
});
await writer.dispose();

console.log(JSON.stringify({ viewer, made, forbidden, anonymous, invalid, stranger, titles, connections }));
process.exit(0);
