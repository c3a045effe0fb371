// A picture fills the window until it is pressed again, or Escape is.
(() => {
  "use strict";
  const close = () => document.querySelectorAll(".enlarge.full").forEach((open) => open.classList.remove("full"));
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest?.(".enlarge"), opens = pressed && !pressed.classList.contains("full");
    close();
    if (opens) pressed.classList.add("full");
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
})();
