// Beside width.css: what CSS cannot tell.

// Long names in code may break behind ::, _ and /, so that a table fits the page.
for (const code of document.querySelectorAll('main :not(pre) > code')) {
    const text = code.textContent;
    if (code.childElementCount === 0 && (text.length > 34 || text.includes('::'))) {
        const parts = text.split(/(?<=::|[_/])/);
        code.replaceChildren(...parts.flatMap((part) => [part, document.createElement('wbr')]).slice(0, -1));
    }
}

// Messages break. A table of psql's has a line of dashes below its heading, and scrolls.
for (const code of document.querySelectorAll('main pre > code.language-text')) {
    if (!/^ ?-[-+]+$/m.test(code.textContent)) {
        code.style.whiteSpace = 'pre-wrap';
    }
}
