// The server audits of GraphQL over HTTP: node audits.mjs ADDRESS; answers the ids of those that passed, and the failures, as JSON.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: `${process.argv[2]}/graphql` });
console.log(
  JSON.stringify({
    passed: results.filter((result) => result.status === "ok").map((result) => result.id),
    failed: results.filter((result) => result.status !== "ok").map(({ id, name, status, reason }) => ({ id, name, status, reason })),
  }),
);
