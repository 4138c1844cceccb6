import "./workers.js";
import { explorerPlugin } from "@graphiql/plugin-explorer";
import { GraphiQL } from "graphiql";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Account } from "./account.jsx";
import { Examples } from "./examples.jsx";
import { fetcher } from "./fetcher.js";
import { Messages } from "./messages.jsx";
import { start } from "./session.js";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./style.css";

const plugins = [explorerPlugin()]; // without the history plugin, which would store headers, and with them tokens, permanently
const WELCOME = `# Choose an example above, or write an operation and press the button to run it.

query Welcome {
  viewer {
    email
  }
}
`;

function Explorer() {
  const [{ accounts, examples, hasMessages }, setData] = useState({ accounts: [], examples: [], hasMessages: false });
  useEffect(() => {
    start().then(setData);
  }, []);

  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={plugins}
      defaultQuery={WELCOME}
      inputValueDeprecation
      schemaDescription
    >
      <GraphiQL.Logo>
        <div className="gateway-bar">
          <Examples examples={examples} />
          {hasMessages && <Messages />}
          <Account accounts={accounts} />
        </div>
      </GraphiQL.Logo>
    </GraphiQL>
  );
}

createRoot(document.getElementById("explorer")).render(<Explorer />);
