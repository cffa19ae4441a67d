//! What a command or an event does to the toy, as it is written in it: a list of steps.

use super::*;

/// Steps, such as `sell 1 <counter>; fail`: a verb, perhaps a number, perhaps an argument.
pub(super) async fn steps(cx: &mut Tx, steps: &str) -> Result<()> {
    for text in steps.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (number, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        match number.parse() {
            Ok(units) => step(cx, verb, units, argument).await?,
            Err(_) => step(cx, verb, 0, rest).await?,
        }
    }
    Ok(())
}

async fn step(cx: &mut Tx, verb: &str, units: i64, argument: &str) -> Result<()> {
    let world = Arc::clone(cx.service::<Arc<World>>()?);
    *lock(&world.begun).entry(verb.to_owned()).or_default() += 1;
    match verb {
        "stock" => append(cx, argument, &[Stocked { units }.into()]).await,
        "stock-twice" => append(cx, argument, &[Stocked { units }.into(), Stocked { units }.into()]).await,
        "sell" => sell(cx, argument, units).await,
        "charge" => charge(cx, argument, units).await,
        "remind" => set(cx, units, argument, |steps| Remind { steps }).await,
        "give-up" => set(cx, units, argument, |steps| GiveUp { steps }).await,
        "forget" => forget(cx, argument).await,
        "wish" => wish(cx, argument).await,
        "withdraw" => withdraw(cx, argument).await,
        "restock" => restock(cx, argument, units).await,
        "recount" => recount(cx, argument).await,
        "append-stale" => append_stale(cx, argument).await,
        "load" => counter(cx, argument).await.map(drop),
        "write" => write(cx, argument).await,
        "put" => put(cx, argument).await,
        "reject" => Err(rejection("REJECTED").into()),
        "reject-and-keep" => Err(cx.refuse_and_keep(rejection("REJECTED"))),
        "refuse" if world.is_broken() => Err(rejection("REFUSED").into()),
        "fail" if world.is_broken() => Err(Error::Failed(format!("told to fail {argument}"))),
        "panic" if world.is_broken() => panic!("told to panic"),
        "be-away" if world.is_broken() => Err(Error::Transient("told to be away".to_owned())),
        "hang" if world.is_broken() => std::future::pending().await,
        "wait" => wait(cx, argument).await,
        "meet" => meet(&world).await,
        _ => Ok(()),
    }
}

pub(super) async fn counter(cx: &mut Tx, id: &str) -> Result<Loaded<Counter>> {
    let id = id.parse::<Id>().map_err(|error| Error::Failed(error.to_string()))?;
    cx.load(id).await
}

async fn append(cx: &mut Tx, id: &str, events: &[Event]) -> Result<()> {
    let mut counter = counter(cx, id).await?;
    cx.append(&mut counter, events.to_vec()).await
}

async fn sell(cx: &mut Tx, id: &str, units: i64) -> Result<()> {
    let mut counter = counter(cx, id).await?;
    if counter.units < units {
        return Err(rejection("SOLD_OUT").into());
    }
    cx.append(&mut counter, [Sold { units }.into()]).await
}

async fn charge(cx: &mut Tx, id: &str, amount: i64) -> Result<()> {
    let mut counter = counter(cx, id).await?;
    cx.append(&mut counter, [Sold { units: 0 }.into()]).await?;
    cx.effect(&counter, &Charge { amount })
}

async fn wish(cx: &mut Tx, id: &str) -> Result<()> {
    let counter = counter(cx, id).await?;
    cx.effect(&counter, &Charge { amount: 1 })
}

/// Sets a timer of the counter that begins the argument, for so many seconds from now.
async fn set<T: Timer>(cx: &mut Tx, seconds: i64, argument: &str, timer: impl FnOnce(String) -> T) -> Result<()> {
    let (id, steps) = argument.split_once(' ').unwrap_or((argument, ""));
    let counter = counter(cx, id).await?;
    let due = event::Micros(cx.now().0 + seconds * 1_000_000);
    cx.timer(&counter, due, &timer(steps.to_owned()))
}

async fn forget(cx: &mut Tx, id: &str) -> Result<()> {
    let counter = counter(cx, id).await?;
    cx.cancel_timer::<Counter, Remind>(&counter);
    Ok(())
}

async fn withdraw(cx: &mut Tx, id: &str) -> Result<()> {
    let counter = counter(cx, id).await?;
    if cx.withdraw::<Counter, Charge>(&counter).await? { Ok(()) } else { Err(rejection("BEGUN").into()) }
}

async fn recount(cx: &mut Tx, id: &str) -> Result<()> {
    let id = id.parse::<Id>().map_err(|error| Error::Failed(error.to_string()))?;
    let recount: Loaded<Recount> = cx.load(id).await?;
    let counted = format!("counted {} events, {} units", recount.events, recount.counter.units);
    write(cx, &counted).await
}

async fn restock(cx: &mut Tx, id: &str, units: i64) -> Result<()> {
    let id = id.parse::<Id>().map_err(|error| Error::Failed(error.to_string()))?;
    let mut recount: Loaded<Recount> = cx.load(id).await?;
    cx.append(&mut recount, [Stocked { units }.into()]).await
}

async fn append_stale(cx: &mut Tx, id: &str) -> Result<()> {
    let mut first = counter(cx, id).await?;
    let mut second = counter(cx, id).await?;
    cx.append(&mut first, [Stocked { units: 1 }.into()]).await?;
    cx.append(&mut second, [Stocked { units: 1 }.into()]).await
}

async fn write(cx: &mut Tx, text: &str) -> Result<()> {
    let backend = cx.db().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, "insert into note (text) values ($1)", [text.into()]);
    cx.write().execute_raw(statement).await?;
    Ok(())
}

async fn put(cx: &mut Tx, text: &str) -> Result<()> {
    let sql = "insert into note (text) values ($1) on conflict (text) do update set text = excluded.text";
    let statement = Statement::from_sql_and_values(cx.db().get_database_backend(), sql, [text.into()]);
    cx.write().execute_raw(statement).await?;
    Ok(())
}

/// Waits for a key until the replica has seen it.
async fn wait(cx: &mut Tx, key: &str) -> Result<()> {
    let sql = "select 1 as found from seen where key = $1";
    let statement = Statement::from_sql_and_values(cx.db().get_database_backend(), sql, [key.into()]);
    let found = cx.db().query_one_raw(statement).await?.map(drop);
    let key: Key = key.parse().map_err(|error: event::InvalidKey| Error::Failed(error.to_string()))?;
    match cx.wait_for(&key, found)? {
        Some(()) => Ok(()),
        None => write(cx, &format!("went on without {key}")).await,
    }
}
