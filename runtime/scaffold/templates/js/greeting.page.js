export function html(greeting) {
  return `<!doctype html>\n<title>${greeting}</title>\n<h1>${greeting}</h1>\n`;
}
