// The frame's own behaviour: theme, copy buttons, disabling a form that is on its way.
// Loaded in the head without `defer`, so that the theme is set before the first paint.
(function () {
  "use strict";

  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function storedTheme() {
    try {
      return localStorage.getItem("tokenmix-theme");
    } catch {
      return null; // storage may be switched off
    }
  }

  function showTheme() {
    root.setAttribute("data-bs-theme", storedTheme() || (dark.matches ? "dark" : "light"));
  }

  function switchTheme() {
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("tokenmix-theme", next);
    } catch {
      // then the choice lasts as long as the page
    }
    root.setAttribute("data-bs-theme", next);
  }

  function textOf(button) {
    const source = document.getElementById(button.dataset.copy);
    return "value" in source ? source.value : source.textContent.trim();
  }

  function copyByHand(text) {
    // navigator.clipboard exists on https and on localhost only.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  async function copy(button) {
    const text = textOf(button);
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
    } else {
      copyByHand(text);
    }
    const label = button.querySelector("[data-copy-label]");
    const before = label.textContent;
    label.textContent = button.dataset.copied;
    button.classList.add("is-copied");
    setTimeout(() => {
      label.textContent = before;
      button.classList.remove("is-copied");
    }, 1500);
  }

  showTheme();
  dark.addEventListener("change", showTheme);

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-copy], [data-theme-switch]");
    if (!target) return;
    if (target.matches("[data-copy]")) {
      if (target.disabled) return;
      target.disabled = true;
      copy(target).finally(() => setTimeout(() => (target.disabled = false), 1600));
    } else {
      switchTheme();
    }
  });

  // A second click must not send a form twice. A page taken from the back cache gets it back.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
})();
