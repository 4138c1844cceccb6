// Repeats a mutation with Apollo's retry link: node apollo.mjs ADDRESS TOKEN
// The first response is lost on its way. Prints its results as JSON.
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { ApolloLink } from "@apollo/client/link";
import { SetContextLink } from "@apollo/client/link/context";
import { RetryLink } from "@apollo/client/link/retry";

const [address, token] = process.argv.slice(2);
const responses = [];

const unreliableFetch = async (url, options) => {
  const response = await fetch(url, options);
  responses.push({ key: options.headers["idempotency-key"], replayed: response.headers.get("idempotency-replayed") });
  if (responses.length === 1) throw new TypeError("the connection was lost");
  return response;
};

// One key for each mutation. It is set before the retry link, so all attempts have the same key.
const idempotencyLink = new SetContextLink(({ headers }) => ({
  headers: { ...headers, "idempotency-key": crypto.randomUUID() },
}));

const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.from([
    idempotencyLink,
    new RetryLink({ delay: { initial: 300 }, attempts: { max: 5 } }),
    new HttpLink({
      uri: `${address}/graphql`,
      headers: { Authorization: `Bearer ${token}` },
      fetch: unreliableFetch,
    }),
  ]),
});

const CREATE = gql`
  mutation CreateTask($input: CreateTaskInput!) {
    createTask(input: $input) { task { id title } userErrors { message } }
  }
`;

const { data } = await client.mutate({ mutation: CREATE, variables: { input: { title: "Water the plants" } } });
console.log(JSON.stringify({ created: data.createTask, responses }));
client.stop();
