//! The table of endpoints.
use super::{
    Route, Status, absent, container, container_archive, container_stream, exec, image, image_transfer,
};
use super::{network, system, upkeep, volume};
use http::Method;

macro_rules! routes {
    ($( $method:ident $path:literal $since:literal $status:ident $handler:path; )*) => {
        &[$( Route {
            method: Method::$method,
            path: $path,
            since: $since,
            status: Status::$status,
            handler: |cx| Box::pin($handler(cx)),
        }, )*]
    };
}

/// Every endpoint.
pub static ROUTES: &[Route] = routes! {
    GET "/_ping" 24 Served system::ping;
    HEAD "/_ping" 24 Served system::ping;
    GET "/version" 24 Served system::version;
    GET "/info" 24 Served system::info;
    GET "/events" 24 Served system::events;
    GET "/system/df" 25 Served system::disk_usage;
    POST "/auth" 24 Served system::auth;

    GET "/containers/json" 24 Served container::list;
    POST "/containers/create" 24 Served container::create;
    POST "/containers/prune" 25 Served container::prune;
    GET "/containers/{}/json" 24 Served container::inspect;
    GET "/containers/{}/top" 24 Served container::top;
    GET "/containers/{}/logs" 24 Served container_stream::logs;
    GET "/containers/{}/changes" 24 Served container::changes;
    GET "/containers/{}/export" 24 Served container_archive::export;
    GET "/containers/{}/stats" 24 Served container_stream::stats;
    POST "/containers/{}/resize" 24 Served container::resize;
    POST "/containers/{}/start" 24 Served container::start;
    POST "/containers/{}/stop" 24 Served container::stop;
    POST "/containers/{}/restart" 24 Served container::restart;
    POST "/containers/{}/kill" 24 Served container::kill;
    POST "/containers/{}/update" 24 Served container::update;
    POST "/containers/{}/rename" 24 Served container::rename;
    POST "/containers/{}/pause" 24 Served container::pause;
    POST "/containers/{}/unpause" 24 Served container::unpause;
    POST "/containers/{}/attach" 24 Served container_stream::attach;
    GET "/containers/{}/attach/ws" 24 Served container_stream::attach_websocket;
    POST "/containers/{}/wait" 24 Served container_stream::wait;
    HEAD "/containers/{}/archive" 24 Served container_archive::head;
    GET "/containers/{}/archive" 24 Served container_archive::get;
    PUT "/containers/{}/archive" 24 Served container_archive::put;
    GET "/containers/{}/checkpoints" 25 CheckpointsAbsent absent::checkpoint;
    POST "/containers/{}/checkpoints" 25 CheckpointsAbsent absent::checkpoint;
    POST "/containers/{}/exec" 24 Served exec::create;
    DELETE "/containers/{}" 24 Served container::remove;
    POST "/commit" 24 Served container::commit;

    POST "/exec/{}/start" 24 Served exec::start;
    POST "/exec/{}/resize" 24 Served exec::resize;
    GET "/exec/{}/json" 24 Served exec::inspect;

    GET "/images/json" 24 Served image::list;
    GET "/images/search" 24 Served image::search;
    POST "/images/create" 24 Served image_transfer::create;
    POST "/images/load" 24 Served image_transfer::load;
    POST "/images/prune" 25 Served image::prune;
    GET "/images/get" 24 Served image_transfer::save;
    GET "/images/{}/get" 24 Served image_transfer::save;
    GET "/images/{}/json" 24 Served image::inspect;
    GET "/images/{}/history" 24 Served image::history;
    GET "/images/{}/attestations" 55 AttestationsAbsent absent::attestations;
    POST "/images/{}/push" 24 Served image_transfer::push;
    POST "/images/{}/tag" 24 Served image::tag;
    DELETE "/images/{}" 24 Served image::remove;
    GET "/distribution/{}/json" 30 Served image::distribution;

    GET "/networks" 24 Served network::list;
    POST "/networks/create" 24 Served network::create;
    POST "/networks/prune" 25 Served network::prune;
    POST "/networks/{}/connect" 24 Served network::connect;
    POST "/networks/{}/disconnect" 24 Served network::disconnect;
    GET "/networks/{}" 24 Served network::inspect;
    DELETE "/networks/{}" 24 Served network::remove;

    GET "/volumes" 24 Served volume::list;
    POST "/volumes/create" 24 Served volume::create;
    POST "/volumes/prune" 25 Served volume::prune;
    GET "/volumes/{}" 24 Served volume::inspect;
    PUT "/volumes/{}" 42 NotInSwarm absent::cluster_volume;
    DELETE "/volumes/{}" 24 Served volume::remove;

    POST "/knarr/system/check" 24 Served upkeep::check;
    POST "/knarr/system/clean" 24 Served upkeep::clean;
    GET "/knarr/system/doctor" 24 Served upkeep::doctor;

    POST "/build" 24 BuildAbsent absent::build;
    POST "/build/cancel" 24 BuildAbsent absent::build;
    POST "/build/prune" 31 Served system::build_prune;
    POST "/session" 24 BuildAbsent absent::build;
    POST "/grpc" 24 BuildAbsent absent::build;

    GET "/plugins" 24 NoPlugins absent::plugin_list;
    GET "/plugins/privileges" 24 PluginsAbsent absent::plugins;
    POST "/plugins/pull" 24 PluginsAbsent absent::plugins;
    POST "/plugins/create" 24 PluginsAbsent absent::plugins;
    GET "/plugins/{}/json" 24 NoPlugins absent::no_such_plugin;
    DELETE "/plugins/{}" 24 NoPlugins absent::no_such_plugin;
    POST "/plugins/{}/enable" 24 NoPlugins absent::no_such_plugin;
    POST "/plugins/{}/disable" 24 NoPlugins absent::no_such_plugin;
    POST "/plugins/{}/upgrade" 26 NoPlugins absent::no_such_plugin;
    POST "/plugins/{}/push" 24 NoPlugins absent::no_such_plugin;
    POST "/plugins/{}/set" 24 NoPlugins absent::no_such_plugin;

    GET "/swarm" 24 NotInSwarm absent::not_a_manager;
    POST "/swarm/init" 24 NoSwarm absent::swarm;
    POST "/swarm/join" 24 NoSwarm absent::swarm;
    POST "/swarm/leave" 24 NotInSwarm absent::not_in_swarm;
    POST "/swarm/update" 24 NotInSwarm absent::update_swarm;
    GET "/swarm/unlockkey" 24 NotInSwarm absent::not_a_manager;
    POST "/swarm/unlock" 24 NotInSwarm absent::not_a_manager;
    GET "/nodes" 24 NotInSwarm absent::not_a_manager;
    GET "/nodes/{}" 24 NotInSwarm absent::not_a_manager;
    DELETE "/nodes/{}" 24 NotInSwarm absent::not_a_manager;
    POST "/nodes/{}/update" 24 NotInSwarm absent::update_node;
    GET "/services" 24 NotInSwarm absent::not_a_manager;
    POST "/services/create" 24 NotInSwarm absent::not_a_manager;
    GET "/services/{}/logs" 25 NotInSwarm absent::swarm_logs;
    GET "/services/{}" 24 NotInSwarm absent::not_a_manager;
    DELETE "/services/{}" 24 NotInSwarm absent::not_a_manager;
    POST "/services/{}/update" 24 NotInSwarm absent::update_service;
    GET "/tasks" 24 NotInSwarm absent::not_a_manager;
    GET "/tasks/{}/logs" 29 NotInSwarm absent::swarm_logs;
    GET "/tasks/{}" 24 NotInSwarm absent::not_a_manager;
    GET "/secrets" 24 NotInSwarm absent::not_a_manager;
    POST "/secrets/create" 24 NotInSwarm absent::not_a_manager;
    GET "/secrets/{}" 24 NotInSwarm absent::not_a_manager;
    DELETE "/secrets/{}" 24 NotInSwarm absent::not_a_manager;
    POST "/secrets/{}/update" 24 NotInSwarm absent::update_secret;
    GET "/configs" 24 NotInSwarm absent::not_a_manager;
    POST "/configs/create" 24 NotInSwarm absent::not_a_manager;
    GET "/configs/{}" 24 NotInSwarm absent::not_a_manager;
    DELETE "/configs/{}" 24 NotInSwarm absent::not_a_manager;
    POST "/configs/{}/update" 24 NotInSwarm absent::update_config;
};
