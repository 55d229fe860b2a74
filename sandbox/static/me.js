// The name of whoever sits here, for all cards.

import { $ } from "./dom.js";

export function myName() {
  return $("name").value.trim() || "Somebody";
}

export function startName(changed) {
  $("name").value = localStorage.getItem("name") || `Guest ${Math.floor(Math.random() * 900) + 100}`;
  localStorage.setItem("name", $("name").value);
  $("name").addEventListener("change", () => {
    localStorage.setItem("name", $("name").value);
    changed();
  });
}
