'use strict';
// Draws the charts, in the colours of the page; and says so where one can't be drawn.
(() => {
  const root = document.documentElement;
  const failures = [];
  const fail = (what) => {
    failures.push(String(what));
    root.dataset.failed = failures.join('; ');
    let note = document.getElementById('failed');
    if (!note) {
      note = document.createElement('p');
      note.id = 'failed';
      note.className = 'failed';
      document.querySelector('header').append(note);
    }
    note.textContent = 'A chart could not be drawn: ' + root.dataset.failed;
  };
  addEventListener('error', (event) => fail(event.message));
  addEventListener('unhandledrejection', (event) => fail(event.reason));
  addEventListener('securitypolicyviolation', (event) => fail('refused: ' + event.blockedURI));

  const dark = matchMedia('(prefers-color-scheme: dark)');
  const template = () => {
    const of = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    const axis = {gridcolor: of('--line'), linecolor: of('--line'), zerolinecolor: of('--line')};
    const heat = dark.matches
      ? [[0, '#1a2d45'], [0.35, '#1f4f7d'], [0.7, '#2c7fb5'], [1, '#79bfe6']]
      : [[0, '#d9e8f5'], [0.35, '#7fb3d9'], [0.7, '#2b6ea8'], [1, '#0d2c54']];
    return {
      layout: {
        paper_bgcolor: 'rgba(0,0,0,0)',
        plot_bgcolor: 'rgba(0,0,0,0)',
        font: {family: getComputedStyle(document.body).fontFamily, size: 12, color: of('--faint')},
        colorway: dark.matches
          ? ['#6aa9ff', '#ffa94d', '#5fd3a2', '#f783ac', '#b197fc', '#66d9e8', '#ffe066', '#ff8787']
          : ['#2f6fd0', '#d9711c', '#1f9468', '#c2447f', '#7450c9', '#0f8ba3', '#a07d00', '#c93b3b'],
        xaxis: axis,
        yaxis: axis,
        hoverlabel: {
          bgcolor: of('--raised'),
          bordercolor: of('--line'),
          font: {color: of('--ink'), size: 13},
          align: 'left',
          namelength: -1,
        },
      },
      data: {heatmap: [{type: 'heatmap', colorscale: heat}]},
    };
  };

  const charts = [...document.querySelectorAll('.chart')];
  const config = {responsive: true, displaylogo: false, displayModeBar: false, doubleClick: 'reset'};
  const draw = (chart) => {
    const told = JSON.parse(chart.nextElementSibling.textContent);
    const narrow = chart.clientWidth < 500;
    const layout = {...told.layout, template: template()};
    // A finger that scrolls the page must not zoom a chart.
    if (narrow || matchMedia('(pointer: coarse)').matches) layout.dragmode = false;
    return Plotly.react(chart, told.data, layout, config);
  };
  const drawAll = () => Promise.all(charts.map((chart) => draw(chart))).then(
    () => { root.dataset.drawn = charts.length; }, fail);
  dark.addEventListener('change', drawAll);
  drawAll();
})();
