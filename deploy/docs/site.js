// What the theme makes in the browser and leaves without a name, or out of reach of the keyboard.
new MutationObserver(() => {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav, i) => nav.setAttribute("aria-label", `Code block ${i + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach(wrap => wrap.setAttribute("tabindex", "0"));
}).observe(document.documentElement, { childList: true, subtree: true });
