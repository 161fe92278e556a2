"use strict";
// Airflow shows the page in a frame that may not leave itself: its links are opened by the page around it, and
// its colours follow that page's. All else works without this file.
const frame = window.frameElement;

if (frame) {
  const around = frame.ownerDocument;
  const root = around.documentElement;
  const follow = () => {
    if (root.classList.contains("dark")) document.documentElement.dataset.theme = "dark";
    else if (root.classList.contains("light")) document.documentElement.dataset.theme = "light";
  };
  follow();
  new MutationObserver(follow).observe(root, { attributeFilter: ["class"] });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[target]");
    if (!link || event.button !== 0) return;
    event.preventDefault();
    const outer = around.createElement("a");
    outer.href = link.href;
    outer.rel = link.rel;
    if (link.target === "_blank" || event.ctrlKey || event.metaKey || event.shiftKey) outer.target = "_blank";
    around.body.append(outer);
    outer.click();
    outer.remove();
  });
}
