//! The page and its files. They hold no data, and nothing in them comes from elsewhere.

use axum::{
    Router,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    response::{IntoResponse, Response},
    routing::get,
};

/// Only files of this origin, nothing inline, no frame around it, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: &[Asset] = &[
    Asset {
        path: "/admin/security",
        content_type: "text/html; charset=utf-8",
        text: include_str!("page.html"),
    },
    Asset {
        path: "/admin/security/page.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("page.css"),
    },
    Asset {
        path: "/admin/security/page.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("page.js"),
    },
    Asset {
        path: "/admin/security/icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("icon.svg"),
    },
];

pub(super) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(move || async move { serve(asset) }))
    })
}

/// Returns whether something is the path of the page or one of its files.
pub(super) fn is_asset(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

fn serve(asset: &'static Asset) -> Response {
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // After an update of the service the page is the new one at once.
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, asset.text).into_response()
}
