//! `GET /v1/openapi.json`: the control API in the words of OpenAPI 3.1.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::error::Code;

pub(super) async fn document() -> Response {
    super::json(StatusCode::OK, &openapi())
}

fn openapi() -> Value {
    let flip = json!({
        "type": "object", "required": ["to"], "additionalProperties": false,
        "properties": {
            "to": {"enum": ["blue", "green", "both"]},
            "force": {"type": "boolean", "default": false, "description": "do not probe the target"}
        }
    });
    let weights = json!({
        "type": "object", "additionalProperties": false, "required": ["blue", "green"],
        "properties": {
            "blue": {"type": "integer", "minimum": 0},
            "green": {"type": "integer", "minimum": 0}
        }
    });
    let pause = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "writes_only": {"type": "boolean", "default": false},
            "max_pause_ms": {"type": "integer", "minimum": 0, "default": 30_000}
        }
    });
    let deploy = json!({
        "type": "object",
        "properties": {
            "image": {"type": "string"}, "tag": {"type": "string"},
            "pull": {"enum": ["always", "missing", "never"]},
            "services": {"type": "array", "items": {"type": "string"}},
            "deploy_timeout_ms": {"type": "integer"}, "drain_timeout_ms": {"type": "integer"},
            "stream_drain_ms": {"type": "integer"}, "keep_warm_ms": {"type": "integer"},
            "monitor_ms": {"type": "integer"}, "wait_lock_ms": {"type": "integer"}
        }
    });
    let rollback = json!({"type": "object", "properties": {"revision": {"type": "integer"}}});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Cutover control API", "version": env!("CARGO_PKG_VERSION")},
        "paths": {
            "/metrics": {"get": operation("Metrics of both processes", None, "text/plain", false)},
            "/v1/config/reload": {"post": operation("Read the config file again", None, JSON, false)},
            "/v1/events": {"get": operation(
                "What happens, as JSON lines; follow=false ends with the present, recent=N begins with the last N",
                None, NDJSON, false)},
            "/v1/openapi.json": {"get": operation("This document", None, JSON, false)},
            "/v1/services": {"get": operation("All services", None, JSON, false)},
            "/v1/services/{name}": {"get": operation("One service", None, JSON, true)},
            "/v1/services/{name}/abort": {"post": operation("End the rollout under way: before its flip it is abandoned, after it flipped back", None, JSON, true)},
            "/v1/services/{name}/deploy": {"post": operation("Bring a release in; the last line is the report", Some(deploy.clone()), NDJSON, true)},
            "/v1/services/{name}/flip": {"post": operation("Make a color serve", Some(flip), JSON, true)},
            "/v1/services/{name}/history": {"get": operation("Reports of former rollouts", None, JSON, true)},
            "/v1/services/{name}/pause": {"post": operation("Hold requests", Some(pause), JSON, true)},
            "/v1/services/{name}/plan": {"post": operation("What a deploy would do; changes nothing", Some(deploy), JSON, true)},
            "/v1/services/{name}/resume": {"post": operation("Let held requests go on", None, JSON, true)},
            "/v1/services/{name}/rollback": {"post": operation("Go back to a revision; the last line is the report", Some(rollback), NDJSON, true)},
            "/v1/services/{name}/weight": {"post": operation("Set the shares of the colors", Some(weights), JSON, true)},
            "/v1/status": {"get": operation("Everything at a glance", None, JSON, false)}
        },
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"],
            "properties": {"error": {
                "type": "object", "required": ["code", "message", "hint"],
                "properties": {
                    "code": {"enum": Code::ALL},
                    "message": {"type": "string"},
                    "hint": {"type": "string"}
                }
            }}
        }}}
    })
}

fn operation(summary: &str, body: Option<Value>, answer: &str, named: bool) -> Value {
    let mut operation = json!({
        "summary": summary,
        "responses": {
            "200": {"description": "done", "content": {answer: {}}},
            "default": {
                "description": "refused or failed",
                "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
            }
        }
    });
    let Some(fields) = operation.as_object_mut() else {
        return operation;
    };
    if let Some(schema) = body {
        fields.insert("requestBody".into(), json!({"content": {JSON: {"schema": schema}}}));
    }
    if named {
        let name =
            json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}});
        fields.insert("parameters".into(), json!([name]));
    }
    operation
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
