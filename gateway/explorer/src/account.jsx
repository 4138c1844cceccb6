import { useGraphiQLActions } from "@graphiql/react";
import { useEffect, useRef, useState } from "react";
import { signIn, signInAs, signOut, useSession } from "./session.js";

function SignInDialog({ dialog }) {
  const [errorMessage, setErrorMessage] = useState("");

  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const { email, password } = Object.fromEntries(new FormData(form));
    try {
      await signIn(email, password);
      form.reset();
      setErrorMessage("");
      dialog.current.close();
    } catch (error) {
      setErrorMessage(error.message);
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
        <p role="alert">{errorMessage}</p>
        <button type="submit">Sign in</button>
        <button type="button" onClick={() => dialog.current.close()}>
          Cancel
        </button>
      </form>
    </dialog>
  );
}

/**
 * Shows the signed-in account, and in a demo a menu of accounts to sign in as. A change of the account introspects the
 * schema again, because introspection may depend on it.
 */
export function Account({ accounts }) {
  const session = useSession();
  const dialog = useRef(null);
  const introspectedAs = useRef(session?.email);
  const { introspect } = useGraphiQLActions();

  useEffect(() => {
    if (introspectedAs.current === session?.email) return;
    introspectedAs.current = session?.email;
    introspect();
  }, [session?.email, introspect]);

  const selected = accounts.find(({ email }) => email === session?.email);
  const isMenuShown = accounts.length > 0 && (selected || !session);
  const select = (event) => {
    const account = accounts.find(({ email }) => email === event.target.value);
    if (account) signInAs(account);
    else signOut();
  };

  return (
    <div className="gateway-account">
      {isMenuShown && (
        <select aria-label="Sign in as" value={selected?.email ?? ""} onChange={select}>
          <option value="">Sign in as …</option>
          {accounts.map(({ email, name }) => (
            <option key={email} value={email}>
              {name}
            </option>
          ))}
        </select>
      )}
      {session && !isMenuShown && <span>{session.name}</span>}
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
