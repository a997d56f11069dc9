// Long names in code may break behind ::, _ and /, so that a table fits the page.
for (const code of document.querySelectorAll('main :not(pre) > code')) {
    if (code.childElementCount === 0 && code.textContent.length > 34) {
        const parts = code.textContent.split(/(?<=::|[_/])/);
        code.replaceChildren(...parts.flatMap((part) => [part, document.createElement('wbr')]).slice(0, -1));
    }
}
