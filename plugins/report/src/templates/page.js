// Shows and hides the candidates of a class.
for (const box of document.querySelectorAll("#classes input")) {
  const show = () => document.getElementById("candidates").classList.toggle("without-" + box.value, !box.checked);
  box.addEventListener("change", show);
  show();
}
// Takes all overlays off and puts them back: the checkbox, or the key "o".
const overlays = document.getElementById("overlays");
if (overlays) {
  const show = () => document.body.classList.toggle("bare", !overlays.checked);
  overlays.addEventListener("change", show);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("#viewer, input, textarea, select")) return;
    if (event.key === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      overlays.checked = !overlays.checked;
      show();
    }
  });
}
