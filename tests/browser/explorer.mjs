// Uses GraphiQL like a person: node explorer.mjs ADDRESS CHROMIUM
// Prints what it saw as JSON.
import { chromium } from "playwright-core";

const [address, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, chromiumSandbox: process.getuid() !== 0 });
const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(60_000);

const consoleMessages = [];
const requests = [];
const operations = [];
page.on("console", (message) => consoleMessages.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => consoleMessages.push(`error: ${error.message}`));
page.on("websocket", (socket) => requests.push(socket.url()));
page.on("request", (request) => {
  requests.push(request.url());
  if (request.method() === "POST") operations.push(/(query|mutation|subscription) (\w+)/.exec(request.postDataJSON().query)[2]);
});

const isRunOf = (name) => (response) =>
  response.request().method() === "POST" && response.request().postDataJSON().query.includes(` ${name}`);
const tab = (name) => page.locator("[role=tab][aria-selected=true]", { hasText: name });
const tabs = () => page.locator("[role=tab] > :first-child").allTextContents();
const run = async (name) => {
  const answered = page.waitForResponse(isRunOf(name));
  await page.getByRole("button", { name: /Execute query/ }).click();
  const response = await answered;
  return { sent: await response.request().allHeaders(), ...(await response.json()) };
};
const runExample = async (domain, name) => {
  await page.getByLabel("Examples").selectOption(`${domain}/${name}`);
  await tab(name).waitFor();
  return run(name);
};
const currentEmail = async () => (await runExample("identity", "WhoAmI")).data.viewer?.email ?? null;
const colours = async () => ({
  page: await page.locator(".graphiql-container").evaluate((element) => getComputedStyle(element).backgroundColor),
  editors: await page.locator(".graphiql-query-editor .monaco-editor.vs-dark").count(),
});
const token = () => page.evaluate(() => JSON.parse(sessionStorage.getItem("siso-gateway:session"))?.token ?? null);

/** Creates tasks until one is shown, because the page does not know when its subscription has started. */
const createUntilSeen = async () => {
  const shown = page.locator(".graphiql-response").getByText("Created elsewhere").first();
  const input = { query: 'mutation { createTask(input: { title: "Created elsewhere" }) { task { id } } }' };
  const headers = { Authorization: `Bearer ${await token()}` };
  while (!(await shown.isVisible())) {
    await context.request.post(`${address}/graphql`, { data: input, headers });
    await page.waitForTimeout(100);
  }
  return page.locator(".graphiql-response").textContent();
};

const read = page.waitForResponse(isRunOf("IntrospectionQuery"));
await page.goto(`${address}/graphql`);
await read;
const seen = { title: await page.title(), anonymous: await currentEmail() };

// an account of the demo
await page.getByLabel("Sign in as").selectOption("admin@example.com");
seen.tasks = (await runExample("life_lock", "OpenTasks")).data.tasks;
await page.locator(".graphiql-response").getByText(seen.tasks.nodes[0].title).first().waitFor();
seen.demo = await currentEmail();
await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("button", { name: "Sign in" }).waitFor();
seen.left = await token();

// an account with a password
seen.made = (await runExample("identity", "SignUp")).data.signUp;
await page.getByRole("button", { name: "E-mails" }).click();
const mails = page.getByRole("dialog", { name: "E-mails" });
const mail = mails.getByText("Verify your e-mail address – new@example.com");
while (!(await mail.isVisible())) {
  await mails.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "E-mails" }).click(); // the message is sent after the response
  await mails.waitFor();
}
await mail.click();
seen.mail = await mails.locator("pre").first().textContent();
await mails.getByRole("button", { name: "Close" }).click();
await page.getByRole("button", { name: "Sign in" }).click();
const dialog = page.getByRole("dialog", { name: "Sign in" });
const signIn = async (password) => {
  await dialog.getByLabel("E-mail").fill("new@example.com");
  await dialog.getByLabel("Password").fill(password);
  await dialog.getByRole("button", { name: "Sign in" }).click();
};
await signIn("not the password");
const alert = dialog.getByRole("alert").filter({ hasText: /./ });
await alert.waitFor();
seen.signInError = await alert.textContent();
await signIn("correct horse battery staple");
await page.getByText("New Person").waitFor();

// a subscription runs until it is stopped, and shows changes that are made elsewhere
await page.getByLabel("Examples").selectOption("life_lock/TaskChanges");
await tab("TaskChanges").waitFor();
const subscribed = page.waitForResponse(isRunOf("TaskChanges"));
await page.getByRole("button", { name: /Execute query/ }).click();
seen.stream = await (await subscribed).headerValue("content-type");
seen.delivered = await createUntilSeen();
await page.getByRole("button", { name: /Stop/ }).click();
await page.getByRole("button", { name: /Execute query/ }).waitFor();
seen.password = await currentEmail();

// the headers editor and the side panes
await page.getByRole("button", { name: "Headers" }).click();
await page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .monaco-editor").click();
await page.keyboard.insertText('{"X-Request-ID": "from-the-editor"}');
seen.header = (await run("WhoAmI")).sent["x-request-id"];
await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
seen.docs = await page.locator(".graphiql-plugin").getByRole("link", { name: "Query", exact: true }).textContent();
await page.getByRole("button", { name: "Show GraphiQL Explorer" }).click();
await page.locator(".graphiql-plugin").getByText("lifeLockDashboard").first().click();
seen.explorer = await page.locator(".graphiql-plugin").getByText("overdueTasks").first().textContent();

// reloading, the colour scheme and signing out
seen.workers = page.workers().map((worker) => new URL(worker.url()).origin);
await page.waitForFunction(() => localStorage.getItem("graphiql:tabState").includes("lifeLockDashboard"));
seen.kept = await page.evaluate(() => JSON.stringify({ ...localStorage }));
seen.tabs = await tabs();
seen.light = await colours();
await page.emulateMedia({ colorScheme: "dark" });
await page.reload();
await page.getByText("New Person").waitFor();
await tab("WhoAmI").waitFor();
seen.tabsAgain = await tabs();
seen.dark = await colours();
const ended = page.waitForResponse(isRunOf("SignOut"));
await page.getByRole("button", { name: "Sign out" }).click();
seen.ended = await (await ended).json();
seen.end = await currentEmail();
await browser.close();

console.log(JSON.stringify({ ...seen, consoleMessages, operations, hosts: [...new Set(requests.map((url) => new URL(url).origin))] }));
