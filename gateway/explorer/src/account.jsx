import { useGraphiQLActions } from "@graphiql/react";
import { useEffect, useRef, useState } from "react";
import { signIn, signInAs, signOut, useSession } from "./session.js";

function SignInDialog({ dialog }) {
  const [refusal, setRefusal] = useState("");

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const { email, password } = Object.fromEntries(new FormData(form));
    try {
      await signIn(email, password);
      form.reset();
      setRefusal("");
      dialog.current.close();
    } catch (error) {
      setRefusal(error.message);
    }
  };

  return (
    <dialog ref={dialog} className="gateway-dialog" aria-label="Sign in">
      <form onSubmit={submit}>
        <label>
          E-mail <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password <input name="password" type="password" autoComplete="current-password" required />
        </label>
        <p role="alert">{refusal}</p>
        <button type="submit">Sign in</button>
        <button type="button" onClick={() => dialog.current.close()}>
          Cancel
        </button>
      </form>
    </dialog>
  );
}

/** Who is asking; in a demo, any of its people. What the schema shows may depend on it, so it is read anew. */
export function Account({ accounts }) {
  const session = useSession();
  const dialog = useRef(null);
  const asked = useRef(session?.email);
  const { introspect } = useGraphiQLActions();

  useEffect(() => {
    if (asked.current === session?.email) return;
    asked.current = session?.email;
    introspect();
  }, [session?.email, introspect]);

  const known = accounts.find(({ email }) => email === session?.email);
  const isChosen = accounts.length > 0 && (known || !session);
  const choose = (event) => {
    const chosen = accounts.find(({ email }) => email === event.target.value);
    if (chosen) signInAs(chosen);
    else signOut();
  };

  return (
    <div className="gateway-account">
      {isChosen && (
        <select aria-label="Sign in as" value={known?.email ?? ""} onChange={choose}>
          <option value="">Sign in as …</option>
          {accounts.map(({ email, name }) => (
            <option key={email} value={email}>
              {name}
            </option>
          ))}
        </select>
      )}
      {session && !isChosen && <span>{session.name}</span>}
      {session ? (
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      ) : (
        <button type="button" onClick={() => dialog.current.showModal()}>
          Sign in
        </button>
      )}
      <SignInDialog dialog={dialog} />
    </div>
  );
}
