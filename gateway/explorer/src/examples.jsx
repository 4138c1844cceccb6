import { pick, useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { Kind, parse } from "graphql";
import { useMemo } from "react";

const title = (name) => name.replace(/_/g, " ").replace(/\B[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** The operations of a file, each with the comments before it. */
const operationsOf = ({ domain, source }) => {
  let end = 0;
  return parse(source)
    .definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
    .map(({ name, loc }) => {
      const text = source.slice(end, loc.end).trim();
      end = loc.end;
      return { id: `${domain}/${name.value}`, title: title(name.value), text };
    });
};

/** A menu of example operations. Selecting one opens it in a new tab. */
export function Examples({ examples }) {
  const { addTab } = useGraphiQLActions();
  const { queryEditor } = useGraphiQL(pick("queryEditor"));
  const groups = useMemo(
    () => examples.map((file) => ({ domain: title(file.domain), operations: operationsOf(file) })),
    [examples],
  );

  const open = (event) => {
    const operation = groups.flatMap(({ operations }) => operations).find(({ id }) => id === event.target.value);
    addTab();
    queryEditor.setValue(`${operation.text}\n`);
  };

  return (
    <select aria-label="Examples" value="" onChange={open} disabled={!queryEditor}>
      <option value="">Examples …</option>
      {groups.map(({ domain, operations }) => (
        <optgroup key={domain} label={domain}>
          {operations.map((operation) => (
            <option key={operation.id} value={operation.id}>
              {operation.title}
            </option>
          ))}
        </optgroup>
      ))}
    </select>
  );
}
