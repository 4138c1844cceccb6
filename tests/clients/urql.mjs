// Uses urql like a frontend: node urql.mjs ADDRESS TOKEN
// Prints its results as JSON.
import { cacheExchange, Client, fetchExchange, gql } from "@urql/core";

const [address, token] = process.argv.slice(2);
const createClient = (bearer) =>
  new Client({
    url: `${address}/graphql`,
    exchanges: [cacheExchange, fetchExchange],
    fetchOptions: { headers: { Authorization: `Bearer ${bearer}` } },
    preferGetMethod: false,
  });
const client = createClient(token);

const dataOf = (result) => {
  if (result.error) throw result.error;
  return result.data;
};

const TASKS = gql`
  query Tasks($first: Int!, $after: String) {
    tasks(first: $first, after: $after, order: [{ field: TITLE }]) {
      totalCount
      nodes { id title category { name } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
const DASHBOARD = gql`
  query { lifeLockDashboard { totalTasks completedTasks weeklyProgress { date completed created } } viewer { email } }
`;
const CREATE = gql`
  mutation Create($input: CreateTaskInput!) {
    createTask(input: $input) { task { id title version } userErrors { code message field } }
  }
`;
const COMPLETE = gql`
  mutation Complete($input: CompleteTaskInput!) {
    completeTask(input: $input) { task { id status completedAt } userErrors { code } }
  }
`;

const dashboard = async () => dataOf(await client.query(DASHBOARD, {}, { requestPolicy: "network-only" }));

const pages = [];
let after = null;
do {
  const { tasks } = dataOf(await client.query(TASKS, { first: 20, after }));
  pages.push(tasks.nodes.map((task) => task.title));
  after = tasks.pageInfo.hasNextPage ? tasks.pageInfo.endCursor : null;
} while (after);

const before = await dashboard();
const created = dataOf(await client.mutation(CREATE, { input: { title: "From a frontend" } })).createTask;
const completed = dataOf(await client.mutation(COMPLETE, { input: { id: created.task.id } })).completeTask;
const rejected = dataOf(await client.mutation(CREATE, { input: { title: "", priorityLevel: 9 } })).createTask;
const changed = await dashboard();
const again = dataOf(await client.query(TASKS, { first: 20, after: null }));
const stranger = await createClient("nonsense").query(DASHBOARD, {});
const missing = await client.query(gql`query { node(id: "nonsense") { id } }`, {});

console.log(
  JSON.stringify({
    pages,
    before,
    created,
    completed,
    rejected,
    changed,
    total: again.tasks.totalCount,
    stranger: { status: stranger.error.response.status, codes: stranger.error.graphQLErrors.map((e) => e.extensions.code) },
    missing: missing.error.graphQLErrors.map((e) => e.extensions.code),
  }),
);
