// The page /docs: openapi.json, to be read.
const made = (name, ...inside) => {
  const element = document.createElement(name);
  element.append(...inside);
  return element;
};
const main = document.getElementById("paths");
const shell = document.getElementById("shell");
shell.textContent = shell.textContent.replaceAll("HOST", location.origin);

const { paths } = await (await fetch("openapi.json")).json();
for (const [path, methods] of Object.entries(paths))
  for (const [method, { summary, description, parameters = [], responses }] of Object.entries(methods)) {
    main.append(made("h2", made("code", `${method.toUpperCase()} ${path}`), ` ${summary}`));
    if (description) main.append(made("p", description));
    const rows = parameters.map((each) => made("tr", made("td", made("code", each.name)), made("td", each.in), made("td", each.description)));
    if (rows.length) main.append(made("table", made("tbody", ...rows)));
    const answers = Object.entries(responses).map(([status, answer]) => `${status} ${answer.description}`);
    main.append(made("p", answers.join(" ")));
  }
