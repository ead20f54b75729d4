//! The security layer of an API service.
#![cfg_attr(docsrs, feature(doc_cfg))]
