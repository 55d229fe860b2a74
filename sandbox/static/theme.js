// Light or dark: what the system says, or what the button says. Runs before the page is drawn, so it is no module.
{
  const THEMES = ["auto", "light", "dark"];
  let theme = THEMES.find((each) => each === localStorage.getItem("theme")) ?? "auto";

  const show = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  };

  const next = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("theme", theme);
    show();
  };

  show();
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", next);
  });
}
