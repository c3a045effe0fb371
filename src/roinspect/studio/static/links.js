// Links lead to the pages of the tab's own folder: its id is in the tab's address.
(() => {
  "use strict";
  const keep = (event) => {
    const link = event.target.closest?.("a[href^='/']"), id = new URLSearchParams(location.search).get("project");
    if (link && id && !link.search) link.search = `?project=${id}`;
  };
  for (const kind of ["pointerdown", "keydown", "click"]) window.addEventListener(kind, keep, true);
})();
