// Long names in code may break behind ::, _ and /, so that a table fits the page.
for (const code of document.querySelectorAll('main :not(pre) > code')) {
    const text = code.textContent;
    if (code.childElementCount === 0 && (text.length > 34 || text.includes('::'))) {
        const parts = text.split(/(?<=::|[_/])/);
        code.replaceChildren(...parts.flatMap((part) => [part, document.createElement('wbr')]).slice(0, -1));
    }
}
