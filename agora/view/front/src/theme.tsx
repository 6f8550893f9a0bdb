// Light or dark: as the system has it, or as the reader says, kept by the browser where it may.

import { useState } from "preact/hooks";

const KEY = "agora-theme";
const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

function kept(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    return "auto"; // a page in a sandbox has no storage
  }
}

function apply(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

// Before anything is drawn, so that nothing flashes.
export const applyTheme = (): void => apply(kept());

export function ThemeSwitch() {
  const [theme, setTheme] = useState(kept);
  const choose = (value: Theme) => {
    setTheme(value);
    apply(value);
    try {
      localStorage.setItem(KEY, value);
    } catch {
      // it holds until the page is left
    }
  };
  return (
    <label class="scheme">
      <span>Colours </span>
      <select value={theme} onChange={(event) => choose(event.currentTarget.value as Theme)}>
        <option value="auto">auto</option>
        <option value="light">light</option>
        <option value="dark">dark</option>
      </select>
    </label>
  );
}
