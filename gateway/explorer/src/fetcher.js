// Sends operations as whoever is signed in; subscriptions are server-sent events, which the same headers go with.
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getOperationAST, OperationTypeNode } from "graphql";
import { createClient } from "graphql-sse";
import { ENDPOINT, signedFetch } from "./session.js";

const single = createGraphiQLFetcher({ url: ENDPOINT, fetch: signedFetch, enableIncrementalDelivery: false });

/** The answers to a subscription, which goes on where it was when the connection is lost. */
const subscribe = (params, headers) => {
  let last;
  const client = createClient({
    url: ENDPOINT,
    fetchFn: signedFetch,
    headers: () => ({ ...headers, ...(last && { "Last-Event-ID": last }) }),
    onMessage: ({ data }) => (last = data?.extensions?.id ?? last),
  });
  return client.iterate(params);
};

export const fetcher = (params, options) => {
  const operation = options?.documentAST && getOperationAST(options.documentAST, params.operationName);
  const isSubscription = operation?.operation === OperationTypeNode.SUBSCRIPTION;
  return isSubscription ? subscribe(params, options.headers) : single(params, options);
};
