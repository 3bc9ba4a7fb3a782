// What is wrong to the eye in a page: wider than the window, on one another, a picture that is broken.
() => {
    const found = [], width = document.documentElement.clientWidth;
    const box = one => one.getBoundingClientRect();
    const style = one => getComputedStyle(one);
    const words = one => {
        const text = (one.textContent || one.getAttribute("alt") || "").trim().slice(0, 40);
        return `${one.tagName.toLowerCase()} "${text}"`;
    };
    const shown = one => one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length > 0;
    const framed = one => {  // it moves within a frame of its own
        for (let above = one.parentElement; above && above !== document.body; above = above.parentElement)
            if (/auto|scroll|hidden/.test(style(above).overflowX)) return true;
        return false;
    };
    const whole = document.documentElement.scrollWidth;
    if (whole > width) found.push(`the page is ${whole} wide`);
    for (const one of document.body.querySelectorAll("*"))
        if (shown(one) && box(one).left < width && box(one).right > width + 1 && !framed(one))
            found.push(`wider than the window: ${words(one)}`);
    for (const one of document.images)
        if (!one.complete || one.naturalWidth === 0) found.push(`a broken picture: ${one.alt}`);

    const overlap = (a, b) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    const apart = [...document.querySelectorAll("section, .card, .cards, .bars, .strip, .strip figure")];
    const groups = apart.map(one => [...one.children]);
    // Of the site: navigation, text and contents; the buttons in a phone's header.
    groups.push([...document.querySelectorAll(".sidebar-drawer, .toc-drawer, .main > .content")]);
    groups.push([...document.querySelectorAll(".mobile-header label, .mobile-header button")]);
    for (const group of groups) {
        const here = group.filter(one => shown(one) && style(one).position !== "absolute");
        here.slice(1).forEach((one, place) => {
            if (overlap(box(here[place]), box(one)))
                found.push(`on one another: ${words(here[place])}, ${words(one)}`);
        });
    }
    return found;
}
