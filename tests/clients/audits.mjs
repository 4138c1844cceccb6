// Runs the server audits of npm's `graphql-http`: node audits.mjs ADDRESS
// Prints the ids of passed audits, and the failed ones, as JSON.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: `${process.argv[2]}/graphql` });
console.log(
  JSON.stringify({
    passed: results.filter((result) => result.status === "ok").map((result) => result.id),
    failed: results.filter((result) => result.status !== "ok").map(({ id, name, status, reason }) => ({ id, name, status, reason })),
  }),
);
