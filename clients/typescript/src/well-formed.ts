/**
 * What is wrong with a message of which a string holds half of a surrogate pair, such as "documents[1].id is ..."; undefined when all
 * of it can be encoded. Encoding would write U+FFFD there, and so make one document of two whose ids differ.
 */
export function illFormed(message: object): string | undefined {
  const path = find(message);
  return path?.replace(/^\./, "").concat(" is not well-formed Unicode: it has half of a surrogate pair");
}

/** The path of the first string that is not well-formed. */
function find(value: unknown): string | undefined {
  if (typeof value === "string") {
    return value.isWellFormed() ? undefined : "";
  }
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) {
    return undefined;
  }
  if (Array.isArray(value)) {
    // Vectors are long: a path is made only where there is one to tell.
    for (let i = 0; i < value.length; i++) {
      const path = find(value[i]);
      if (path !== undefined) {
        return `[${i}]${path}`;
      }
    }
    return undefined;
  }
  for (const [name, part] of Object.entries(value)) {
    if (!name.isWellFormed()) {
      return `.${JSON.stringify(name)}`;
    }
    const path = find(part);
    if (path !== undefined) {
      return `.${name}${path}`;
    }
  }
  return undefined;
}
