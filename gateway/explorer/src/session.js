// Who is signed in. It is kept for this browser tab only, and forgotten with it.
import { useSyncExternalStore } from "react";

export const ENDPOINT = window.location.pathname;
const START = new URL("explorer/start", window.location.href);
const KEY = "siso-gateway:session";
const EARLY = 30;

const listeners = new Set();
let session = JSON.parse(sessionStorage.getItem(KEY));
let renewing = null;

const keep = (next) => {
  session = next;
  if (next) sessionStorage.setItem(KEY, JSON.stringify(next));
  else sessionStorage.removeItem(KEY);
  for (const listener of listeners) listener();
};

const subscribe = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useSession = () => useSyncExternalStore(subscribe, () => session);

/** What the gateway has for the page: example operations, and in a demo the accounts to sign in as. */
export const start = async () => (await fetch(START)).json();

const ask = async (query, variables, token) => {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].message);
  return data;
};

const TOKENS = "accessToken refreshToken viewer { email firstName lastName } userErrors { message }";
const SIGN_IN = `mutation SignIn($input: SignInInput!) { tokens: signIn(input: $input) { ${TOKENS} } }`;
const REFRESH = `mutation Refresh($input: RefreshSessionInput!) { tokens: refreshSession(input: $input) { ${TOKENS} } }`;
const SIGN_OUT = "mutation SignOut($input: SignOutInput!) { signOut(input: $input) { userErrors { message } } }";

const open = async (mutation, input) => {
  const { viewer, accessToken, refreshToken, userErrors } = (await ask(mutation, { input })).tokens;
  if (userErrors.length > 0) throw new Error(userErrors.map(({ message }) => message).join(" "));
  return { email: viewer.email, name: `${viewer.firstName} ${viewer.lastName}`, token: accessToken, refreshToken };
};

export const signIn = async (email, password) => keep(await open(SIGN_IN, { email, password }));

export const signInAs = (account) => keep(account);

const endsSoon = (token) => {
  const claims = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(atob(claims)).exp - EARLY < Date.now() / 1000;
};

const renew = async ({ email, refreshToken }) => {
  if (refreshToken) return open(REFRESH, { refreshToken });
  return (await start()).accounts.find((account) => account.email === email) ?? null;
};

const currentToken = async () => {
  if (session && endsSoon(session.token)) {
    renewing ??= renew(session)
      .catch(() => null)
      .then(keep)
      .finally(() => (renewing = null));
    await renewing;
  }
  return session?.token;
};

/** Forgets who was signed in; a session that a password began is ended. */
export const signOut = async () => {
  const token = await currentToken();
  const isSession = Boolean(session?.refreshToken);
  keep(null);
  if (isSession) await ask(SIGN_OUT, { input: {} }, token);
};

/** Sends an operation as whoever is signed in, unless the headers editor says otherwise. */
export const signedFetch = async (url, init) => {
  const headers = new Headers(init.headers);
  const token = headers.has("Authorization") ? null : await currentToken();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers });
  if (response.status === 401 && token && token === session?.token) keep(null);
  return response;
};
