// Keeps a page fresh: fetches it again every two seconds and exchanges the parts marked
// `data-live` that have changed. Rests in hidden tabs, keeps the focus, the scroll position and a
// selection of text, and says so when the node stops answering. Without this file a reload does
// the same job.

const PERIOD_MS = 2000;
const PATIENCE_MS = 6000;
const FAILURES_UNTIL_NOTICE = 2;

let failures = 0;
let timer = 0;

function schedule() {
  clearTimeout(timer);
  if (!document.hidden && document.querySelector("[data-live]")) {
    timer = setTimeout(refresh, PERIOD_MS);
  }
}

async function refresh() {
  try {
    const response = await fetch(location.href, {
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) exchange(part, fresh);
    failures = 0;
  } catch {
    failures += 1;
  }
  document.getElementById("silence").hidden = failures < FAILURES_UNTIL_NOTICE;
  schedule();
}

function exchange(part, fresh) {
  const next = fresh.getElementById(part.id);
  if (!next || part.innerHTML === next.innerHTML && part.className === next.className) return;
  if (holdsSelection(part)) return;
  const focused = part.contains(document.activeElement) ? pathTo(document.activeElement, part) : null;
  part.className = next.className;
  part.replaceChildren(...next.childNodes);
  if (focused) follow(focused, part)?.focus({ preventScroll: true });
}

function holdsSelection(part) {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(part, true);
}

function pathTo(element, root) {
  const path = [];
  for (let at = element; at !== root; at = at.parentElement) {
    path.unshift([...at.parentElement.children].indexOf(at));
  }
  return { path, href: element.getAttribute("href") };
}

function follow({ path, href }, root) {
  if (href !== null) return root.querySelector(`[href="${CSS.escape(href)}"]`);
  return path.reduce((at, index) => at?.children[index], root);
}

async function showJoinCommand(button) {
  button.disabled = true;
  const place = document.getElementById("join-command");
  try {
    const response = await fetch("/api/v1/join-command", {
      method: "POST",
      headers: { "X-Peerdisco": "1" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const answer = await response.json();
    place.querySelector("span").textContent = response.ok
      ? "On the other machine, run:"
      : "The node refuses:";
    place.querySelector("code").textContent = response.ok ? answer.command : answer.detail;
  } catch {
    place.querySelector("code").textContent = "The node does not answer.";
  }
  place.hidden = false;
  button.disabled = false;
}

const join = document.getElementById("join");
if (join) {
  join.hidden = false;
  join.addEventListener("click", () => showJoinCommand(join));
}
document.addEventListener("visibilitychange", () => (document.hidden ? schedule() : refresh()));
schedule();
