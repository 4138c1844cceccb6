// Uses graphql-sse like a frontend: node graphql-sse.mjs ADDRESS TOKEN [again]
// Prints its results as JSON. With `again`, it follows a gateway that is restarted.
import { createClient } from "graphql-sse";

const [address, token, again] = process.argv.slice(2);
const url = `${address}/graphql`;
const client = (bearer, options) =>
  createClient({ url, headers: bearer && { Authorization: `Bearer ${bearer}` }, retryAttempts: 0, ...options });

const CREATE = "mutation Create($title: String!) { createTask(input: { title: $title }) { task { title } } }";
const CHANGED = "subscription Changed { taskChanged { eventType task { title } } }";

const all = async (from, query, variables) => {
  const results = [];
  for await (const result of from.iterate({ query, variables })) results.push(result);
  return results;
};
const create = (title) => all(client(token), CREATE, { title });

/** Runs all operations that end on their own. */
const runOperations = async () => {
  const codes = (results) => results.map(({ errors }) => errors.map(({ extensions }) => extensions.code));
  const failure = (promise) => promise.catch(({ name, response }) => [name, response?.status]);
  return {
    viewer: await all(client(token), "{ viewer { email } }"),
    created: await create("Over SSE"),
    anonymous: codes(await all(client(), CHANGED)),
    forbidden: codes(await all(client(token), "subscription { domainEvents { id } }")),
    invalid: codes(await all(client(token), "subscription { nonsense }")),
    unparsable: codes(await all(client(token), "subscription {")),
    stranger: await failure(all(client("nonsense"), CHANGED)),
    single: await new Promise((resolve) => {
      const sink = { next: resolve, complete: resolve, error: ({ name, response }) => resolve([name, response?.status]) };
      client(token, { singleConnection: true }).subscribe({ query: CHANGED }, sink);
    }),
  };
};

/** The titles of tasks up to "Last", across a restart of the gateway. Creates "Second" when "First" arrives. */
const follow = async () => {
  const [titles, connections] = [[], []];
  let lastEventId;
  const reader = client(token, {
    headers: () => ({ Authorization: `Bearer ${token}`, ...(lastEventId && { "Last-Event-ID": lastEventId }) }),
    retryAttempts: 1000,
    retry: () => new Promise((resolve) => setTimeout(resolve, 20)),
    on: { connected: (isAgain) => connections.push(isAgain) },
  });
  for await (const { data, extensions } of reader.iterate({ query: CHANGED })) {
    lastEventId = extensions.id;
    titles.push(data.taskChanged.task.title);
    if (titles.at(-1) === "First") await create("Second");
    if (titles.at(-1) === "Last") break; // cancels the subscription
  }
  return { titles, connections };
};

console.log(JSON.stringify(await (again ? follow() : runOperations())));
