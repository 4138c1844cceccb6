// The session of the signed-in account, stored for this browser tab only.
import { useSyncExternalStore } from "react";

export const ENDPOINT = window.location.pathname;
const START = new URL("explorer/start", window.location.href);
const MESSAGES = new URL("explorer/messages", window.location.href);
const KEY = "siso-gateway:session";
const RENEWAL_MARGIN = 30; // seconds before its expiry at which a token is renewed

const listeners = new Set();
let session = JSON.parse(sessionStorage.getItem(KEY));
let renewing = null;

const store = (next) => {
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

/**
 * The gateway's data for the page: example operations, and in a demo the accounts to sign in as and whether it shows
 * the e-mails that it does not send.
 */
export const start = async () => (await fetch(START)).json();

/** The e-mails that the demo has not sent, the newest first. */
export const fetchMessages = async () => (await (await fetch(MESSAGES)).json()).messages;

const execute = async (query, variables, token) => {
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

const requestSession = async (mutation, input) => {
  const { viewer, accessToken, refreshToken, userErrors } = (await execute(mutation, { input })).tokens;
  if (userErrors.length > 0) throw new Error(userErrors.map(({ message }) => message).join(" "));
  return { email: viewer.email, name: `${viewer.firstName} ${viewer.lastName}`, token: accessToken, refreshToken };
};

export const signIn = async (email, password) => store(await requestSession(SIGN_IN, { email, password }));

export const signInAs = (account) => store(account);

const expiresSoon = (token) => {
  const claims = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(atob(claims)).exp - RENEWAL_MARGIN < Date.now() / 1000;
};

const renew = async ({ email, refreshToken }) => {
  if (refreshToken) return requestSession(REFRESH, { refreshToken });
  return (await start()).accounts.find((account) => account.email === email) ?? null;
};

const currentToken = async () => {
  if (session && expiresSoon(session.token)) {
    renewing ??= renew(session)
      .catch(() => null)
      .then(store)
      .finally(() => (renewing = null));
    await renewing;
  }
  return session?.token;
};

/** Deletes the stored session. A session that began with a password also ends on the server. */
export const signOut = async () => {
  const token = await currentToken();
  const hasServerSession = Boolean(session?.refreshToken);
  store(null);
  if (hasServerSession) await execute(SIGN_OUT, { input: {} }, token);
};

/** Sends a request with the token of the signed-in account, unless the headers editor sets another Authorization. */
export const signedFetch = async (url, init) => {
  const headers = new Headers(init.headers);
  const token = headers.has("Authorization") ? null : await currentToken();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers });
  if (response.status === 401 && token && token === session?.token) store(null);
  return response;
};
