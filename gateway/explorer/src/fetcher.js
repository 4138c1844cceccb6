// Sends operations with the token of the signed-in account. Subscriptions use server-sent events, because WebSockets
// cannot have headers.
import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getOperationAST, OperationTypeNode } from "graphql";
import { createClient } from "graphql-sse";
import { ENDPOINT, signedFetch } from "./session.js";

const single = createGraphiQLFetcher({ url: ENDPOINT, fetch: signedFetch, enableIncrementalDelivery: false });

/** The responses of a subscription. After a lost connection it resumes after the last event received. */
const subscribe = (params, headers) => {
  let lastEventId;
  const client = createClient({
    url: ENDPOINT,
    fetchFn: signedFetch,
    headers: () => ({ ...headers, ...(lastEventId && { "Last-Event-ID": lastEventId }) }),
    onMessage: ({ data }) => (lastEventId = data?.extensions?.id ?? lastEventId),
  });
  return client.iterate(params);
};

export const fetcher = (params, options) => {
  const operation = options?.documentAST && getOperationAST(options.documentAST, params.operationName);
  const isSubscription = operation?.operation === OperationTypeNode.SUBSCRIPTION;
  return isSubscription ? subscribe(params, options.headers) : single(params, options);
};
