//! Plain text is refused or redirected, and HSTS is sent: the cases E, G and H01 to H13 of the HTTPS cases.

mod facade;
mod hsts;
mod redirect;
mod reject;
mod scheme;
mod silent_proxy;
mod support;
