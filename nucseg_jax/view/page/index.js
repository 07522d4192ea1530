// A list of what is open. All addresses are relative: the first part of the path is the token.

const answer = await fetch("api/library");
const library = await answer.json();
for (const kind of ["slides", "results"]) {
  for (const item of library[kind]) {
    const link = document.createElement("a");
    link.href = `api/${kind}/${item.id}`;
    link.textContent = item.name;
    const line = document.createElement("li");
    line.append(link);
    document.getElementById(kind).append(line);
  }
}
document.getElementById("notes").textContent = library.notes.join("\n");
