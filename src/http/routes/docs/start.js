// Relative, so that it also works behind a proxy that serves stile under a path of its own.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // Nothing that is typed here outlives the page, and nothing is sent to a validator elsewhere.
  persistAuthorization: false,
  validatorUrl: null,
});
