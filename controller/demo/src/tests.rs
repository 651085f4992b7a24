use std::net::{Ipv4Addr, SocketAddr};

use cutover_proxy::table::Color;
use tokio::net::TcpListener;

use crate::app::Fault;
use crate::*;

#[tokio::test]
async fn every_kind_of_client_is_served_by_the_app_itself() {
    let app = start_app(Color::Blue, None).await;
    let counters = load_for_a_while(app, &Arc::default()).await;
    assert_eq!(counters.first_failures(), Vec::<String>::new());
    {
        let counts = counters.counts();
        let [blue, green] = counts.by_color;
        assert!(blue > 0 && green == 0);
        assert!(counts.streams >= 4 && counts.messages >= counts.streams);
    }
    let posts = load::fetch(app, "/posts").await.unwrap();
    let mut posts: Vec<u64> = serde_json::from_slice(&posts).unwrap();
    posts.sort_unstable();
    assert_eq!(posts, (0..counters.posts_sent()).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_of_the_wrong_color_and_of_a_bad_release_are_failures() {
    let green = start_app(Color::Green, None).await;
    let counters = load_for_a_while(green, &Arc::default()).await;
    let told = counters.first_failures();
    assert!(told.iter().any(|why| why.contains("served by green after")), "{told:?}");

    let broken = start_app(Color::Blue, Some(Fault::Errors)).await;
    let counters = load_for_a_while(broken, &Arc::default()).await;
    assert_eq!(counters.counts().by_color, [0, 0]);
    let told = counters.first_failures();
    assert!(told.iter().any(|why| why.contains("status 500")), "{told:?}");
}

async fn start_app(color: Color, fault: Option<Fault>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(app::serve(listener, color, fault, std::future::pending()));
    address
}

async fn load_for_a_while(edge: SocketAddr, course: &Arc<Course>) -> Arc<Counters> {
    let timeline = Timeline::starting_now(Duration::from_millis(400));
    let counters = Arc::new(Counters::new(timeline));
    let mut load = JoinSet::new();
    Clients::new(edge, course, &counters).start(&mut load);
    load.join_all().await;
    counters
}
