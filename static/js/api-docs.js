// Starts Swagger UI on /api/docs. A file of its own, because the page's policy allows no inline script.
const place = document.getElementById("swagger-ui");
const root = document.documentElement;
const night = matchMedia("(prefers-color-scheme: dark)");

function followTheme() {
  root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : night.matches);
}

followTheme();
night.addEventListener("change", followTheme);
new MutationObserver(followTheme).observe(root, { attributeFilter: ["data-theme"] });

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  tryItOutEnabled: true,
  validatorUrl: null, // asks nobody outside
  requestInterceptor(request) {
    // With the site's own session a writing call needs the form token; with a key or a token it does not.
    const same = new URL(request.url, location.href).origin === location.origin;
    if (same && !["GET", undefined].includes(request.method) && !request.headers.Authorization) {
      request.headers["X-CSRFToken"] = place.dataset.csrf;
    }
    return request;
  },
});
